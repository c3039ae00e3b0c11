-- The books refuse a movement between accounts that its purpose does not move between, or the wrong way round.
-- Rows that were there before are not judged.

ALTER TABLE journal ADD CONSTRAINT journal_sides CHECK (account = ANY (
    CASE purpose
        WHEN 'capture' THEN CASE seq WHEN 0 THEN '{bank_clearing}'::text[] ELSE '{buyer_funds}' END
        WHEN 'settle_merchant' THEN CASE seq WHEN 0 THEN '{buyer_funds}'::text[] ELSE '{merchant_payable}' END
        WHEN 'settle_tax' THEN CASE seq WHEN 0 THEN '{buyer_funds}'::text[] ELSE '{tax_payable}' END
        WHEN 'unsettle_merchant' THEN CASE seq WHEN 0 THEN '{merchant_payable}'::text[] ELSE '{buyer_funds}' END
        -- Of goods that came back out of suspense; of an order that is undone, tax that went back before.
        WHEN 'unsettle_tax' THEN CASE seq WHEN 0 THEN '{tax_suspense,buyer_funds}'::text[] ELSE '{buyer_funds,tax_payable}' END
        WHEN 'refund' THEN CASE seq WHEN 0 THEN '{buyer_funds}'::text[] ELSE '{bank_clearing}' END
        WHEN 'refund_tax' THEN CASE seq WHEN 0 THEN '{tax_suspense}'::text[] ELSE '{bank_clearing}' END
        WHEN 'pay_tax' THEN CASE seq WHEN 0 THEN '{tax_payable}'::text[] ELSE '{bank_clearing}' END
        WHEN 'reserve' THEN CASE seq WHEN 0 THEN '{guarantee_reserved}'::text[] ELSE '{guarantee_free}' END
        WHEN 'unreserve' THEN CASE seq WHEN 0 THEN '{guarantee_free}'::text[] ELSE '{guarantee_reserved}' END
        WHEN 'write_off' THEN CASE seq WHEN 0 THEN '{buyer_funds}'::text[] ELSE '{own_funds,tax_difference}' END
        WHEN 'write_off_tax' THEN CASE seq WHEN 0 THEN '{tax_suspense}'::text[] ELSE '{own_funds,tax_difference}' END
        -- These move either way: a difference may be too much or too little, a deposit raised or lowered.
        WHEN 'assess' THEN '{tax_suspense,tax_payable}'::text[]
        WHEN 'bill' THEN '{tax_suspense,tax_payable}'::text[]
        WHEN 'restore_tax' THEN '{tax_suspense,tax_payable}'::text[]
        WHEN 'book_difference' THEN '{tax_difference,tax_suspense}'::text[]
        WHEN 'claim' THEN '{merchant_claim,tax_suspense}'::text[]
        WHEN 'deposit' THEN '{guarantee_free,own_funds}'::text[]
    END)) NOT VALID;
