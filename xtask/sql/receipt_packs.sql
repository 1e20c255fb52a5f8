SELECT report, position, CAST(packing AS BIGINT) AS packing, bytes FROM receipt_pack
