"""Steps in one pass over memory, by kernels that are built on request.

`kernels.cc` holds them, `building` compiles and tests them, `library` finds and loads
what was built, and `steps` runs it. Everything works without them.
"""
