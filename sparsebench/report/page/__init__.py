"""A folder of results as one HTML page: its contents as columns, and the page around them."""
