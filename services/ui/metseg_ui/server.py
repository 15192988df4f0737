"""The ASGI application: Streamlit and the page's own routes. `streamlit run server.py` serves it."""

import streamlit as st
from starlette.middleware import Middleware

from metseg_ui import proxy_routes
from metseg_ui.guard import PageGuard

app = st.App("app.py", routes=proxy_routes.ROUTES, middleware=[Middleware(PageGuard)])
