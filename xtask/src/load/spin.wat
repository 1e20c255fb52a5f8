;; Copies standard input to standard output after some four milliseconds of multiplications, each of which waits for the one before.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  ;; 0: address and length of the buffer; 8: bytes read; 12: bytes written; 16: the buffer.
  (memory (export "memory") 1)
  (func (export "_start") (local $left i32) (local $state i64)
    (local.set $left (i32.const 2400000))
    (local.set $state (i64.const 1))
    (loop $round
      (local.set $state (i64.add (i64.mul (local.get $state) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
      (br_if $round (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    ;; Behind what is written, so that no engine leaves the rounds out.
    (i64.store (i32.const 8192) (local.get $state))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 4096))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
      (then unreachable))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
      (then unreachable))))
