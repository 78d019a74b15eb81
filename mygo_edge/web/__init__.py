"""The browser as a device: a static page that verifies a bundle, classifies with it and dreams."""
