DELETE FROM receipt_pack WHERE report = $1 AND job = $2
