"""The page: upload a brain MRI, see its lesions. It talks to the gateway alone."""
