"""The admin plane: `/admin/v1` on a socket in the data directory, for this machine's command line, and on TCP for those with a token. Apart from the data plane.

`control_socket` is the file, `guard` who may ask, `plane` the listeners and the routes' frame; a route's own work is a module of its noun.
"""
