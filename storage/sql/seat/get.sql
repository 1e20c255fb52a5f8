SELECT address, epoch, beat FROM seat WHERE id = 1
