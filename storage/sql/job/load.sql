SELECT
    id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks,
    failed_tasks, provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, finished,
    deadline, collecting, (SELECT COUNT(*) FROM job_hold AS h WHERE h.job = job.id) > 0 AS held
FROM job
WHERE state IN ('running', 'stopping')
ORDER BY number
