"""The page's server: Streamlit with our own routes beside it. `streamlit run server.py`."""

import streamlit as st

from metseg_ui import proxy_routes

app = st.App("app.py", routes=proxy_routes.ROUTES)
