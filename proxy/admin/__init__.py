"""The admin plane: `/admin/v1` on a socket in the data directory, for this machine's command line,
and on TCP for those with a token. Apart from the data plane.

`control_socket` is the file, `auth` says who may ask, `app` has the listeners and the routes'
frame.
`routes` lists the routes; what each of them does is a module named after its subject.
"""
