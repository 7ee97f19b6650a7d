"""From a CSV to a picture."""

#: The endings of the files of every picture.
ENDINGS = ("png", "pdf")
