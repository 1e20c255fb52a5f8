-- Also of a report that was collected.
SELECT host, verdicts FROM report WHERE root = $1
