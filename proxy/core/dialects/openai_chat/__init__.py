"""The dialect of OpenAI's chat completions, completions and embeddings, which many vendors follow.

`dialect.py` is its face to the data path. `call.py` reads a request, `meter.py` an answer as it
flows by; `text.py` measures delivered text and `shapes.py` knows where each vendor puts its usage.
`usual_call.py` and `usual.py` read usual requests and answers sooner.
"""
