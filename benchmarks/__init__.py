"""Speed, memory and recovery over the commits, for asv; see CONTRIBUTING.md."""
