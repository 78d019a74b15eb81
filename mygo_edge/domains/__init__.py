"""What a dream is: its shape, its layers, its memory, its augmentation and its looks, one domain a file."""
