"""What one operating system has and another lacks, in files by what it is needed for.

What a system lacks, and what then happens:

- No `setitimer` (Windows), or a thread that is not the main one: a solve that used more than its
  time limit is a time-out when it returns.
- No `SIGHUP` (Windows): a terminal that closes ends the process without a word. Finished blocks
  are stored.
- No `pthread_sigmask` (Windows): a worker that is interrupted while it starts prints a traceback.
- No `prctl` (all but Linux): a worker whose parent was killed ends when compiled code returns, not
  at once.
- No safe copies of a process (all but Linux): a worker is a fresh interpreter, which loads for
  itself what on Linux is loaded once for all.
- No `/proc` (all but Linux): what a worker uses is not seen, and one that looks for no signal is
  ended after ten times its limit; what a plug-in has started in it is not ended with it. `status`
  says that a run was stopped, whether it goes on or not. A run's
  record names the kind of its processor only. Memory and quotas are unknown (`resources`): batches
  are cut to 2 GiB, and the number of workers is not cut. A network file system is taken for a local
  one.
"""
