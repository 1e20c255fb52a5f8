INSERT INTO void_run (
    id, job, task, host, owner, cause, detail, at
)
VALUES {rows}
