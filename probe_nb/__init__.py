"When a language model answers wrongly, does something inside it know? Find the layer and the token, in a notebook."
__version__ = "0.1.0"
