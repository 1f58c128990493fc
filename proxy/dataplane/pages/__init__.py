"""The pages in a browser, at `/ui` of the data listener: what a key or its team uses and may use.

They are made on the server and need no script. `team_pages.py` answers, `sign_in.py` knows who
asks, `views.py` gathers what a page shows from the same answers that `/v1/usage` gives.
"""
