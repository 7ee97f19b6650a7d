"""Speed, memory and recovery over the commits, for asv; see docs/timing.md."""
