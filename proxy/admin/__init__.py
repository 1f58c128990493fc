"""The admin plane: `/admin/v1`, with listeners apart from the data plane.

It serves a socket in the data directory, for this machine's command line, and TCP for those with a
token.

`control_socket` is the socket's file, `auth` says who may ask, `app` has the listeners and the
frame around each route. `routes` lists the routes. Each stands in a module named after its subject.
"""
