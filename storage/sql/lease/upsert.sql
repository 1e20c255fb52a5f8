INSERT INTO lease (
    attempt, digest, job, host, owner, first_task, tasks, epoch, issued, expiry, given_back,
    near, relaxed
)
VALUES {rows}
ON CONFLICT (attempt) DO UPDATE SET
    digest = excluded.digest, job = excluded.job, host = excluded.host, owner = excluded.owner,
    first_task = excluded.first_task, tasks = excluded.tasks, epoch = excluded.epoch,
    issued = excluded.issued, expiry = excluded.expiry, given_back = excluded.given_back,
    near = excluded.near, relaxed = excluded.relaxed
