SELECT log_index FROM report WHERE root = $1
