-- Why a host gave no result of a task: its run was void, its owner's rules did not allow the task, its lease lapsed, or its
-- receipt was refused. All of them count per owner, also after a start. Rows of before are void
-- runs, or declined ones by their cause.
ALTER TABLE void_run ADD COLUMN fault TEXT NOT NULL DEFAULT 'void' CHECK (fault IN ('void', 'declined', 'lapsed', 'refused'));

-- A `VoidCause` of 2 is a limit of the owner.
UPDATE void_run SET fault = 'declined' WHERE cause = 2;
