"""A discrete-event simulation of one endpoint, which asks the control plane's own rule how many workers there shall be.

patterns  arrivals and service times
engine    queue, workers and the loop around the rule, in simulated time
oracle    what one could do who knows all arrivals beforehand
rules     rules for QUEUE_DELAY that were not taken, for comparison
figures   what is told about a run
report    the table and the pictures
"""
