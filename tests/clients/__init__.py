"""Real clients in front of a real proxy: curl, the official Python and Node SDKs, and llama.cpp's
server behind it."""
