def plot(limiter, run, result):
    import pickle
    pickle.dump((limiter, run, result), open("/tmp/wtbench-run.pickle", "wb"))
    return ""
