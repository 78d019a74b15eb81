"""The algorithm: wake (head, expert, memory), sleep, and the methods that MyGO is compared with."""
