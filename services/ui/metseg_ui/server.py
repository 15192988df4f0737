"""The ASGI application: Streamlit and the page's own routes. `streamlit run server.py` serves it."""

import streamlit as st

from metseg_ui import proxy_routes

app = st.App("app.py", routes=proxy_routes.ROUTES)
