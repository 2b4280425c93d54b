-- A dispute is over once its goods were given back: trades that stayed DISPUTED all the same are looked
-- at again with the next exchange, as if the neighbour's log had just said something of them.
UPDATE trade SET heard = 1
WHERE status = 'DISPUTED' AND subject IN (
    SELECT refund_of FROM trade WHERE status = 'SETTLED' AND refund_of IS NOT NULL
);
