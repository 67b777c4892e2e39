"""Flash to ambient on pairs left out: the tables of the paper, and the speed of its network."""
