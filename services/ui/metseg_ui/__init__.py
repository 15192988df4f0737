"""The web page, built with Streamlit: upload a brain MRI, see its lesions. It talks to the gateway only, over HTTP.

- `server`, `app`: the ASGI application, and the script that Streamlit runs to draw the page.
- `proxy_routes`: what the browser fetches and sends outside Streamlit's connection: scripts, volumes, submissions.
- `views`: what fills the main area: welcome, one scan, history, admin, sign-in.
- `panels`: parts of a view or of the sidebar: upload, jobs, results, comparison, the model.
- `components`: viewers, uploader and job watcher with their JavaScript, and error messages with automatic retry.
- `text`: words and table rows, as functions without side effects.
- `state`: the session with its API key, the URL's parameters, cached calls to the gateway.
- `example_scans`: synthetic heads, drawn while the image is built.

Each imports only those below it. Streamlit gives a folder called `pages` a special meaning, hence `views`.
"""
