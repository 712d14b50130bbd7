"""What is installed only on request, and how to install it."""

INSTALL = '`pip install -e ".[migration]"` in a clone of keras-rmsprop'
