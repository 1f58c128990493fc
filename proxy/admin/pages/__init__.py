"""The pages in a browser for administrators, at `/ui` of the admin listener.

They are made on the server and need no script. `admin_pages.py` answers, `visitors.py` knows who
asks, `views.py` and its like gather what a page shows, `forms.py` makes orders of what a form says.
Each change is a request to a route of the admin API (`inside.py`), by the same functions.
"""
