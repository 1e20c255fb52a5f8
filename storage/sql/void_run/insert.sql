INSERT INTO void_run (
    id, job, task, host, owner, fault, cause, detail, at
)
VALUES {rows}
