"""From a CSV to a picture."""
