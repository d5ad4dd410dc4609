"""The whole program in one thread under virtual time, with everything going wrong that can.

Kernel, coordinator, participant executor and barrier are the real ones; journal and broker are in memory, and what
happens when is drawn from a seed.
"""
