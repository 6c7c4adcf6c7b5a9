"""How fast the forests of scikit-learn and of PyPI's isotree are, measured as examples/speed.rs measures ours.

100 trees of 256 rows, a million rows of 8 columns, one thread, straight cuts; processor time; a line of JSON for each.
Each gets its numbers as it likes them best: scikit-learn as f32, isotree as f64 and the fit column by column.
"""

import json
import time

import numpy
from isotree import IsolationForest as Cpp
from sklearn.ensemble import IsolationForest as Scikit

ROWS, COLUMNS, TREES, SAMPLE_ROWS, FITS = 1_000_000, 8, 100, 256, 3


def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name, numbers, forest, to_fit, scores, rows, singles):
    fits_s = seconds(lambda: [forest.fit(to_fit) for _ in range(FITS)])
    # A thread pool that wakes up, tables that are filled once: not counted.
    scores(rows[:1])
    scores_s = seconds(lambda: scores(rows))
    alone = [rows[row : row + 1] for row in range(singles)]
    singles_s = seconds(lambda: [scores(row) for row in alone])
    figures = {
        "name": name,
        "numbers": numbers,
        "cuts": "straight",
        "fit_s": fits_s / FITS,
        "rows_per_s": len(rows) / scores_s,
        "one_row_us": singles_s / singles * 1e6,
    }
    print(json.dumps(figures), flush=True)


def main():
    rows = numpy.random.default_rng(1).uniform(-1.0, 1.0, (ROWS, COLUMNS))
    scikit = Scikit(n_estimators=TREES, max_samples=SAMPLE_ROWS, n_jobs=1, random_state=1)
    single = rows.astype(numpy.float32)
    measure("scikit-learn", "f32", scikit, single, scikit.score_samples, single, 100)
    cpp = Cpp(
        ntrees=TREES,
        sample_size=SAMPLE_ROWS,
        ndim=1,
        ntry=1,
        prob_pick_avg_gain=0,
        prob_pick_pooled_gain=0,
        missing_action="fail",
        nthreads=1,
        random_seed=1,
    )
    by_column = numpy.asfortranarray(rows)
    measure("isotree C++", "f64", cpp, by_column, cpp.predict, rows, 2_000)


main()
