"""What fills the main area of the page; `app` chooses one of them."""
