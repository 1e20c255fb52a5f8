INSERT INTO replica (
    job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at, near, relaxed
)
VALUES {rows}
