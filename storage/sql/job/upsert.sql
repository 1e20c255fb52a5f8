INSERT INTO job (
    id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks,
    failed_tasks, provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, finished,
    deadline
)
VALUES {rows}
ON CONFLICT (id) DO UPDATE SET
    shard = excluded.shard, epoch = excluded.epoch, payer = excluded.payer, submitter = excluded.submitter,
    module = excluded.module, title = excluded.title, envelope = excluded.envelope, state = excluded.state,
    tasks = excluded.tasks, final_tasks = excluded.final_tasks, failed_tasks = excluded.failed_tasks,
    provisional_tasks = excluded.provisional_tasks, largest_input = excluded.largest_input,
    escrow = excluded.escrow, held_granted = excluded.held_granted, spent = excluded.spent,
    fuel = excluded.fuel, submitted = excluded.submitted, finished = excluded.finished,
    deadline = excluded.deadline
WHERE job.number = excluded.number
