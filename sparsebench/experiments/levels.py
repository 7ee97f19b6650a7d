"""Which points of a success curve are looked for, in how many trials, and where there is none."""

#: The success rates whose sparsities are looked for.
NEARLY_ALL, HALF = LEVELS = (0.95, 0.5)
#: Most trials an algorithm and m of a diagram at full size, and trials at every k of a full grid.
MOST_TRIALS, GRID_TRIALS = 700, 1000
#: Why sampling stopped, where the success rate falls, rises and falls again with k.
NOT_MONOTONE = "not monotone"
