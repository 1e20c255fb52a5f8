SELECT
    id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks,
    failed_tasks, provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, finished,
    deadline, collecting, (SELECT COUNT(*) FROM job_hold AS h WHERE h.job = job.id) > 0 AS held
FROM job
WHERE payer = $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND number < $3
ORDER BY number DESC
LIMIT $4
