"""What box and device share: the format of a bundle, how it is read, vetted and signed, and how its inputs are read."""
