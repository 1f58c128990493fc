"""The source of everything in dashboards/: what each dashboard asks and each rule says, in plain
Python. `make dashboards` writes the files anew.

A dashboard is a module with one value `DASHBOARD`; `grafana.py` makes JSON of it. Rules are in
`rules.py`.
"""
