-- Jobs that ended before a time and still have their results, in the order of their ends, after one of them.
SELECT
    id, shard, epoch, number, payer, submitter, module, title, envelope, state, tasks, final_tasks,
    failed_tasks, provisional_tasks, largest_input, escrow, held_granted, spent, fuel, submitted, finished,
    deadline, collecting, (SELECT COUNT(*) FROM job_hold AS h WHERE h.job = job.id) > 0 AS held
FROM job
WHERE finished IS NOT NULL AND collected IS NULL AND finished <= $1 AND (finished, number) > ($2, $3)
ORDER BY finished, number
LIMIT $4
