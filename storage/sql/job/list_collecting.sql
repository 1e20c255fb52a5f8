-- Jobs whose results are going.
SELECT
    id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks,
    failed_tasks, provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, finished,
    deadline, collecting, (SELECT COUNT(*) FROM job_hold AS h WHERE h.job = job.id) > 0 AS held
FROM job
WHERE collecting IS NOT NULL AND collected IS NULL AND number > $1
ORDER BY number
LIMIT $2
