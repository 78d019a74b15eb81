"""The networks: the cortex that learns, the GAN that memorises, the memory that dreams."""
