INSERT INTO replica (
    job, task, segment, host, owner, attempt, state, report, position, receipt, lease, output, log, amount,
    final_after, at
)
VALUES {rows}
