-- Receipts of runs that are paid: results that stand, and runs stopped on the way.
SELECT job, host, state, receipt FROM replica WHERE state IN ('provisional', 'final', 'stopped')
