"""Other engines and file formats: what Foreshock hands them, and what it takes back."""
